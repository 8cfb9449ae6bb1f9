-- An episode's status changes only here, so that the totals always add up.
local function queue_for_ledger(id)
  local sequence = call('HINCRBY', key('totals'), 'settlements', 1)
  call('ZADD', key('settled'), sequence, id)
  call('PUBLISH', key('signal'), 'settled')
end

local function move(id, from, to)
  if from == 'open' then unlist_open(id) end
  call('HSET', episode_key(id), 'status', to)
  count(from, -1, id)
  count(to, 1, id)
end

local function expire_later(id)
  call('ZADD', key('expiring'), now + retention_ms, id)
  arm(now + retention_ms)
end

-- Counts an episode's sampled tokens, and those that reached a gradient; by = -1 takes them back.
local function count_tokens(id, disposition, by)
  local sampled, delivered = unpack(call('HMGET', episode_key(id), 'output_tokens', 'delivered_tokens'))
  count('tokens ' .. disposition, by * number(sampled) + 0, id)  -- Redis takes no -0
  count('delivered_tokens', by * number(delivered) + 0, id)
end

-- A group's status and counts; one in which they are no numbers is written anew.
local function read_group(group)
  local fields = {'status', 'size', 'rewarded', 'discarded', 'deliveries'}
  local found = call('HMGET', group_key(group), unpack(fields))
  for index = 2, #fields do
    if found[1] and not tonumber(found[index]) then
      mend(group_key(group), fields[index] .. ' is no number')
      found = call('HMGET', group_key(group), unpack(fields))
    end
  end
  return found[1], number(found[2]), number(found[3]), number(found[4]), number(found[5])
end

local function discard(id, reason)
  local was, group = unpack(call('HMGET', episode_key(id), 'status', 'group'))
  group = group or ''
  if group ~= '' then read_group(group) end  -- mended, if it is damaged, before anything changes
  call('HSET', episode_key(id), 'status', 'discarded', 'reason', reason, 'settled', now)
  if was == 'open' then unlist_open(id) end
  if LIVE[was] then count(was, -1, id) end
  count(reason, 1, id)
  count_tokens(id, reason, 1)
  call('ZREM', key('idle'), id)
  unplace(id)
  if group ~= '' then
    call('HINCRBY', group_key(group), 'discarded', 1)
    if was == 'rewarded' or was == 'claimed' then
      call('HINCRBY', group_key(group), 'rewarded', -1)
    end
  end
  expire_later(id)
  queue_for_ledger(id)
end

local function train(id, version, credit)
  move(id, 'claimed', 'trained')
  unplace(id)
  call('HSET', episode_key(id), 'policy_version', version, 'settled', now)
  if credit then
    local advantages, delivered = unpack(credit)
    call('SET', episode_key(id, '.advantages'), advantages)
    call('HSET', episode_key(id), 'delivered_tokens', delivered)
  end
  count_tokens(id, 'trained', 1)
  queue_for_ledger(id)
end

-- Takes training back, because a restored checkpoint does not have it. The caller moves the status.
local function untrain(id)
  count_tokens(id, 'trained', -1)
  call('HDEL', episode_key(id), 'policy_version', 'settled', 'delivered_tokens')
  call('DEL', episode_key(id, '.advantages'))
end

local function drop_data(id)
  local turn_ids = call('LRANGE', episode_key(id, '.turn_ids'), 0, -1)
  for _, turn in ipairs(turn_ids) do call('HDEL', key('turns'), turn) end
  for _, part in ipairs(episode_parts()) do
    call('DEL', episode_key(id, part))
  end
  call('HSET', episode_key(id), 'rewards', 0)
end
