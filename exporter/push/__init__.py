"""The judge's view → alerts → Alertmanager.

Input: the judge's view after each look of the watch. Output: posts to every Alertmanager.
Read ``bridge`` first, then ``alertmanager``, which decides what is posted and when.
"""
