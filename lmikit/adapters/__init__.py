"""lmikit.adapters"""
