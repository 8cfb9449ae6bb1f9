-- inspect_counts: the totals, and the same counts made anew from every episode, at one moment. args: most episodes.
-- Returns totals, episodes by status or disposition as name, count, ..., the version reserved last, and reward weights. The
--   counts are empty if there are more episodes.
-- needs: keys
local totals, version = call('HGETALL', key('totals')), call('GET', key('version')) or '0'
local weights = call('HGETALL', key('reward_weights'))
if call('ZCARD', key('episodes')) > tonumber(args[1]) then return {totals, {}, version, weights} end

local counts, groups = {}, {}
local function add(name, by) counts[name] = (counts[name] or 0) + by end
for _, id in ipairs(call('ZRANGE', key('episodes'), 0, -1)) do
  local header = redis.pcall('HMGET', episode_key(id), 'status', 'reason', 'group', 'place')
  if not header.err then
    local status, reason, group, place = unpack(header)
    if place then add('reserved', 1) end
    if status then add(status == 'discarded' and (reason or 'unknown') or status, 1) end
    if group and group ~= '' then groups[group] = true end
  end
end
for group in pairs(groups) do
  local ahead = redis.pcall('HGET', group_key(group), 'ahead')
  add('reserved', type(ahead) == 'string' and tonumber(ahead) or 0)
end

local flat = {}
for name, number in pairs(counts) do
  flat[#flat + 1] = name
  flat[#flat + 1] = number
end
return {totals, flat, version, weights}
