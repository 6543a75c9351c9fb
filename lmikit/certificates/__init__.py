"""lmikit.certificates"""
