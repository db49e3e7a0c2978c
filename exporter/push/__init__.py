"""Changes of nodes' states → alerts → Alertmanager.

Input: changes of state from the judge, and the faults that it knows. Output: posts to every Alertmanager.
Read ``bridge`` first, then ``alertmanager``, which decides what is posted and when.
"""
