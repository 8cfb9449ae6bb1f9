-- A group's record and the indexes, derived again from the headers of the episodes and from the groups.
local MOST = 1e15  -- scores are times in milliseconds, or counts
local CLAIM_MS = 60000  -- the lease of a claim that lost it; its trainer renews it

local function keep(index, member, is_wanted, score)
  local has = call('ZSCORE', key(index), member)
  if has and (tonumber(has) or MOST) >= MOST then has = nil end
  if is_wanted and not has then
    call('ZADD', key(index), score, member)
  elseif has and not is_wanted then
    call('ZREM', key(index), member)
  end
end

-- How many members have each status, the largest size that one was opened with, and how many have a place.
local function read_members(group)
  local n = {open = 0, sealed = 0, rewarded = 0, claimed = 0, trained = 0, discarded = 0}
  local all, size, placed, ids = 0, 0, 0, call('ZRANGE', group_key(group, '.members'), 0, -1)
  for _, id in ipairs(ids) do
    local status, given, place = unpack(call('HMGET', episode_key(id), 'status', 'group_size', 'place'))
    if n[status] then n[status] = n[status] + 1 end
    all, size = all + 1, math.max(size, number(given))
    if place then placed = placed + 1 end
  end
  return n, all, size, placed, ids
end

-- The status of a group by its members.
local function derived_status(n, size)
  local rewarded = n.rewarded + n.claimed
  local is_complete = size > 0 and rewarded + n.discarded + n.trained >= size
  if n.open + n.sealed > 0 or (rewarded > 0 and not is_complete) then return 'open' end
  if n.trained > 0 then return 'trained' end
  return rewarded > 0 and 'ready' or 'discarded'
end

-- Writes a group's record anew. A claim of it is lost: its trainer learns that, and it is claimed again.
local function write_group(group)
  local n, all, size, placed, ids = read_members(group)
  for _, id in ipairs(ids) do
    if call('HGET', episode_key(id), 'status') == 'claimed' then
      call('HSET', episode_key(id), 'status', 'rewarded')
    end
  end
  call('HSET', group_key(group), 'status', derived_status(n, size), 'size', size, 'opened', all,
    'rewarded', n.rewarded + n.claimed, 'discarded', n.discarded, 'deliveries', 0, 'owner', '',
    'placed', placed, 'deadline', reward_deadline_ms)
end

-- Puts a group into the indexes that its status asks for.
local function index_group(group)
  local n, all, _, _, ids = read_members(group)
  local status, ready, wait = unpack(call('HMGET', group_key(group), 'status', 'ready', 'deadline'))
  local version
  for _, id in ipairs(ids) do
    local own, into = unpack(call('HMGET', episode_key(id), 'status', 'policy_version'))
    if own == 'trained' and not call('ZSCORE', key('expiring'), id) then version = tonumber(into) end
  end
  keep('ready', group, status == 'ready', tonumber(ready) or now)
  keep('claimed', group, status == 'claimed', now + CLAIM_MS)
  keep('deadlines', group, status == 'open' and n.open < all, now + (tonumber(wait) or reward_deadline_ms))
  keep('trained', group, status == 'trained' and version, version)
  if status == 'ready' then
    call('LPUSH', key('ready_signal'), 1)
    call('LTRIM', key('ready_signal'), 0, 0)
  end
end

-- Corrects a group that its members contradict.
local function check_group(group)
  local n, all, size, placed = read_members(group)
  if all == 0 then return end
  local status, known, deliveries = unpack(call('HMGET', group_key(group), 'status', 'size', 'deliveries'))
  local live = n.open + n.sealed + n.rewarded + n.claimed
  local is_wrong = not tonumber(known) or not tonumber(deliveries) or (ENDED[status] and live > 0)
    or (status == 'claimed' and n.claimed == 0) or (status == 'ready' and n.rewarded == 0)
    or not (ENDED[status] or status == 'open' or status == 'ready' or status == 'claimed')
  if is_wrong then return write_group(group) end
  if ENDED[status] then return end
  call('HSET', group_key(group), 'opened', all, 'rewarded', n.rewarded + n.claimed,
    'discarded', n.discarded, 'placed', placed)
  if status == 'open' and tonumber(known) > 0 and n.rewarded + n.discarded >= tonumber(known) then
    call('HSET', group_key(group), 'status', n.rewarded > 0 and 'ready' or 'discarded')
  end
end

local function index_episode(id)
  local status, kind, group, trainable, place, created = unpack(call('HMGET', episode_key(id),
    'status', 'kind', 'group', 'trainable_turns', 'place', 'created'))
  if status == 'open' then keep('idle', id, true, now + idle_ms) end
  if status == 'sealed' and (kind == 'side' or number(trainable) == 0) then keep('idle', id, true, now + grace_ms) end
  if status ~= 'open' and status ~= 'sealed' then keep('idle', id, false) end
  keep('quiet', id, place and (status == 'open' or status == 'sealed'), now + idle_ms)
  if group and group ~= '' then call('ZADD', group_key(group, '.members'), 'NX', number(created), id) end
  local is_kept = status == 'trained' and call('ZSCORE', key('trained'), group)
  if ENDED[status] and not is_kept then keep('expiring', id, true, now + retention_ms) end
end
