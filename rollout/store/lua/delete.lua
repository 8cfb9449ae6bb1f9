-- delete: an untrained episode is discarded and its data goes. args: episode.
-- needs: keys, alarm, episode, group
local id = args[1]
local status, group = unpack(call('HMGET', episode_key(id), 'status', 'group'))
if not status then return refuse('NoSuchEpisode', id) end
if status == 'claimed' then return refuse('EpisodeClaimed', id) end
if status == 'trained' then return refuse('EpisodeSettled', id, status) end
if status ~= 'discarded' then
  discard(id, 'deleted')
  member_ended(group)
else
  tell_ledger(id)  -- its rewards go, and what it said of a policy goes with them
end
drop_data(id)
return 1
