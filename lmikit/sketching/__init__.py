"""lmikit.sketching"""
