"""What is said in a session: items that clients describe, audio that is heard, and what a response reads of both.

items           the conversation; what responses read of it, and what of that is cached
client_items    what clients may put into it
input_audio     the caller's audio, and where speech is in it
"""
