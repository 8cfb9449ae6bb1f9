-- inspect_counts: the totals, and the same counts made anew from every episode, at one moment. args: most episodes.
-- Returns totals, episodes by status or disposition as name, count, ..., the version reserved last, reward weights, the
--   holders of places, and places counted anew as holder, count, ... Nothing is counted if there are more episodes.
-- needs: keys
local totals, version = call('HGETALL', key('totals')), call('GET', key('version')) or '0'
local weights, holders = call('HGETALL', key('reward_weights')), call('HGETALL', key('holders'))
if call('ZCARD', key('episodes')) > tonumber(args[1]) then
  return {totals, {}, version, weights, holders, {}}
end

local counts, places, groups = {}, {}, {}
local function add(to, name, by) to[name] = (to[name] or 0) + by end
for _, id in ipairs(call('ZRANGE', key('episodes'), 0, -1)) do
  local header = redis.pcall('HMGET', episode_key(id), 'status', 'reason', 'group', 'place')
  if not header.err then
    local status, reason, group, place = unpack(header, 1, 4)
    if status then add(counts, status == 'discarded' and (reason or 'unknown') or status, 1) end
    if group and group ~= '' then groups[group] = true end
    if place then add(places, place, 1) end
  end
end
for group in pairs(groups) do
  local fields = redis.pcall('HMGET', group_key(group), 'ahead', 'key')
  local ahead = not fields.err and tonumber(fields[1] or 0) or 0
  if ahead ~= 0 then add(places, fields[2] or '', ahead) end
end

local function flat(counted)
  local list = {}
  for name, number in pairs(counted) do
    list[#list + 1] = name
    list[#list + 1] = number
  end
  return list
end
return {totals, flat(counts), version, weights, holders, flat(places)}
