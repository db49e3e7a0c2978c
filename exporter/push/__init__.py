"""The judge's view → alerts → Alertmanager.

Input: the judge's view after each look of the watch. Output: posts to every Alertmanager.
Read ``bridge`` first, which decides what is posted and when. ``alerts`` says which alerts follow from a view.
"""
