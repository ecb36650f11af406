"""Input from others: files, services, proxies, users, and run folders that were copied from
elsewhere.
"""
