"""What a session answers: its responses.

responses       composed and run
functions       whether functions are called, which, and with which arguments
plan            what a response is made of, and when
response        one of them, from response.created to response.done
output_items    its messages and calls
"""
