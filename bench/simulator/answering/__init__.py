"""What a session answers: its responses.

responses       composed and run; each from response.created to response.done
functions       whether functions are called, which, and with which arguments
plan            what a response is made of, and when
output_items    its messages and calls
"""
