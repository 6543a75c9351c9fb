"""lmikit.training"""
