-- forget_trained: remove episodes that the ledger has as trained. A store that was restored from an older copy still has them
--   as they were before, and would train them again. args: episodes. Returns how many there were.
-- needs: keys, rebuild, open_episodes, alarm, places, episode, group
local function leave(group, id, status)
  call('ZREM', group_key(group, '.members'), id)
  local is_live = false
  for _, state in ipairs({'open', 'ready', 'claimed'}) do
    is_live = is_live or call('HGET', group_key(group), 'status') == state
  end
  if is_live then
    call('HINCRBY', group_key(group), 'opened', -1)
    if number(call('HGET', group_key(group), 'size')) > 0 then
      call('HINCRBY', group_key(group), 'size', -1)
    end
    if status == 'rewarded' or status == 'claimed' then
      call('HINCRBY', group_key(group), 'rewarded', -1)
    end
    local is_claimed = call('HGET', group_key(group), 'status') == 'claimed'
    if is_claimed and #members(group, 'claimed') == 0 then finish(group, 'discarded') end
  end
  if call('EXISTS', group_key(group, '.members')) == 0 then
    if is_live and call('HGET', group_key(group), 'status') ~= 'discarded' then
      finish(group, 'discarded')
    end
    call('ZREM', key('trained'), group)
    call('DEL', group_key(group))
  elseif is_live then
    member_ended(group)
  end
end

local num_forgotten = 0
for _, id in ipairs(args) do
  local status, group = unpack(call('HMGET', episode_key(id), 'status', 'group'))
  if status and status ~= 'discarded' then
    if status ~= 'trained' then
      move(id, status, 'trained')
      count_tokens(id, 'trained', 1)
    end
    unplace(id)
    for _, index in ipairs({'idle', 'expiring', 'settled'}) do
      call('ZREM', key(index), id)
    end
    if status == 'open' then unlist_open(id) end
    leave_list(id)
    drop_data(id)
    call('DEL', episode_key(id))
    leave(group, id, status)
    num_forgotten = num_forgotten + 1
  end
end
return num_forgotten
