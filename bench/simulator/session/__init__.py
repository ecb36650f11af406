"""What a client may set, and the session that comes of it.

checks       of single values, and of tables of them
settings     which values a session and a response.create take, in preview and in GA
effective    the session of one client, by the form that its service has
openai, voice_live, services    the forms: of OpenAI and Azure OpenAI, of Azure Voice Live, of all others
"""
