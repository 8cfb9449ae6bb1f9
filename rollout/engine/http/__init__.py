"""An HTTP/1.1 client for the data path: one server, many calls, connections that are kept.

It does what calls to an engine need and no more: POST with a body of known length, no redirects, no cookies, no
compression, no proxies. A call costs a fifth of what a general client takes.
"""
