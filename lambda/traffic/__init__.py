"""The two levers that move traffic: the weights of a listener rule, and the weights of a pair of DNS records.

Both work alike: read what is, check what is wanted, write it in one call, and read it back.
"""
