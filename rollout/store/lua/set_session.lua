-- set_session: from now on the session's key stands for this episode. args: session, episode
-- needs: keys, sessions
call('SET', key('session:' .. args[1]), args[2], 'PX', SESSION_MS)
return 1
