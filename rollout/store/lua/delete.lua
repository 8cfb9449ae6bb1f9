-- delete: discard an untrained episode and delete its data. args: episode.
-- needs: keys, open_episodes, alarm, places, episode, group
local id = args[1]
local status, group = unpack(call('HMGET', episode_key(id), 'status', 'group'))
if not status then return refuse('NoSuchEpisode', id) end
if status == 'claimed' then return refuse('EpisodeClaimed', id) end
if status == 'trained' then return refuse('EpisodeSettled', id, status) end
if status ~= 'discarded' then
  discard(id, 'deleted')
  member_ended(group)
else
  queue_for_ledger(id)  -- its rewards are deleted, so it no longer evaluates a policy
end
drop_data(id)
return 1
