"""What is said in a session: items that clients describe, audio that is heard, and what a response reads of both.

items           the conversation
client_items    what clients may put into it
input_audio     the caller's audio, and where speech is in it
transcription   what the caller said, made up
history         what responses read, and what of that is cached
"""
