-- session_id: the id of the episode that a session's key stands for now, or ''. args: session
-- needs: keys, sessions
return session_episode(args[1])
