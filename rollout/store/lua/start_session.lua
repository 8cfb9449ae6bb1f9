-- start_session: end the session's episode, with a reward of 0 if it has none, and open its next one. Returns the header of that.
-- If the next one is refused, the one before has ended all the same: otherwise it would keep the place that the next one needs.
-- args: those of opening.lua, then the session
-- needs: keys, open_episodes, header, alarm, places, episode, group, running, sealing, opening, rewarding, sessions, session_end
local id, session = args[1], args[14]
if call('EXISTS', episode_key(id)) == 1 then return header(id) end

end_session(session_episode(session))
local refusal = open_episode(1, 0)
if refusal then return refusal end
call('SET', key('session:' .. session), id, 'PX', SESSION_MS)
return header(id)
