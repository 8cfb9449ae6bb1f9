-- How a damaged record is moved aside, and how an episode with one ends.
local KEPT, KEPT_MS = 200, 604800000  -- how many are kept aside, and for a week

local function report(name, kept, why)
  local row = cmsgpack.pack({name:sub(#prefix + 1), kept, why})
  if not try('LPUSH', key('damage'), row) then
    redis.call('DEL', key('damage'))
    redis.call('LPUSH', key('damage'), row)
  end
  redis.call('LTRIM', key('damage'), 0, KEPT - 1)
  if not try('INCR', key('damage_count')) then redis.call('SET', key('damage_count'), 1) end
  redis.call('PUBLISH', key('signal'), 'damage')
end

-- Moves a key aside; the one that was moved aside KEPT moves ago is forgotten.
local function set_aside(name, why)
  if redis.call('EXISTS', name) == 0 then return end
  local index = (try('INCR', key('damage_index')) or 0) % KEPT
  local kept = key('damaged:' .. string.format('%d', index))
  redis.call('RENAME', name, kept)
  redis.call('PEXPIRE', kept, KEPT_MS)
  report(name, kept, why)
end

-- A whole number up to `most` as a text that every reader takes, or nothing: a record that is written anew is sound.
local MOST_MS, MOST_COUNTED = 1e14, 2147483647
local function whole(value, most)
  local found = tonumber(value)
  if found and found >= 0 and found <= most and found % 1 == 0 then return string.format('%.0f', found) end
end

-- Ends an episode with a damaged record: its header is written anew, its data are moved aside. One that has ended keeps how.
local function fail_episode(id, why)
  local name = episode_key(id)
  local status, reason, version, kind, group, created, settled, sampled, delivered, earned, owner = unpack(
    try('HMGET', name, 'status', 'reason', 'policy_version', 'kind', 'group', 'created', 'settled',
      'output_tokens', 'delivered_tokens', 'reward_sum', 'key') or {})
  if not tostring(group):match('^[%w][%w%._:%-]*$') then group = '' end
  if not tostring(reason):match('^[%l_]+$') then reason = nil end
  local has_ended = status == 'trained' or (status == 'discarded' and reason)
  if not has_ended then status, reason, settled = 'discarded', 'failed', now end
  for _, turn in ipairs(try('LRANGE', episode_key(id, '.turn_ids'), 0, -1) or {}) do
    try('HDEL', key('turns'), turn)
  end
  if owner then try('SREM', key('limit.open:' .. owner), id) end
  created, settled = whole(created, MOST_MS) or now, whole(settled, MOST_MS) or now
  set_aside(name, why)
  for _, part in ipairs(episode_parts()) do set_aside(episode_key(id, part), why) end
  redis.call('HSET', name, 'id', id, 'status', status, 'reason', reason or '', 'group', group or '',
    'kind', kind == 'side' and kind or 'train', 'created', created,
    'settled', settled, 'output_tokens', whole(sampled, MOST_COUNTED) or 0,
    'delivered_tokens', whole(delivered, MOST_COUNTED) or 0, 'policy_version', whole(version, MOST_COUNTED) or 0,
    'begun', 0, 'turns', 0, 'trainable_turns', 0, 'rewards', 0)
  if status ~= 'trained' then redis.call('HDEL', name, 'policy_version') end
  if tonumber(earned) then redis.call('HSET', name, 'reward_sum', earned) end
  call('ZADD', key('episodes'), 'NX', created, id)
  for _, index in ipairs({'idle', 'quiet'}) do call('ZREM', key(index), id) end
  if not has_ended then call('ZADD', key('expiring'), now + retention_ms, id) end
  call('ZADD', key('settled'), call('HINCRBY', key('totals'), 'settlements', 1), id)
  return group
end
