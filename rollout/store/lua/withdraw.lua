-- withdraw: a turn that was begun will not be committed, so sealing does not wait for it. Counts each attempt once.
-- args: episode, attempt, retry key or '', 1 if the context was full and 0 otherwise
-- needs: keys, open_episodes, alarm, places, episode, group, running, sealing, lease, idleness
local id, attempt, retry_key, is_full = unpack(args)
local status, group = unpack(call('HMGET', episode_key(id), 'status', 'group'))
if not status then return refuse('NoSuchEpisode', id) end
end_lease(id, retry_key, attempt)
if status ~= 'open' and status ~= 'sealed' then return 1 end
if not take_back(id, attempt) then return 1 end
if is_full == '1' then call('HSET', episode_key(id), 'truncated', 1) end
if status == 'sealed' and not has_signal(id) and not awaits_turns(id) then
  end_without_signal(id)
  member_ended(group)
end
-- The caller may have given up: it has this long to call again before its place is given back. `committed` is reset, so that
-- the next call writes the deadlines anew; the deadline in idle is written as the last commit moved it.
local GIVE_UP_MS = 10000
if status == 'open' then
  for _, index in ipairs({'idle', 'quiet'}) do keep_deadline(index, id) end
end
call('HSET', episode_key(id), 'committed', 0)
call('ZADD', key('quiet'), 'XX', 'LT', now + GIVE_UP_MS, id)
arm(now + GIVE_UP_MS)
return 1
