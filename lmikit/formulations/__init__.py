"""lmikit.formulations"""
