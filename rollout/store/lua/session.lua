-- session: the header of the episode that a session's key stands for now, or nothing. args: session
-- needs: keys, header, sessions
local id = session_episode(args[1])
if call('EXISTS', episode_key(id)) == 1 then return header(id) end
