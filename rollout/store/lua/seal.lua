-- seal: end the turns of an open episode. Returns its header; another status stays as it is.
-- args: episode, outcome, truncated 0 or 1
-- needs: keys, open_episodes, header, alarm, places, episode, group, running, sealing
local id, outcome, truncated = unpack(args)
local status = call('HGET', episode_key(id), 'status')
if not status then return refuse('NoSuchEpisode', id) end
if status == 'open' then seal(id, outcome, truncated) end
return header(id)
