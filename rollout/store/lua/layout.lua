-- layout: bring the records of an older release into today's layout, once. Returns how many keys got another name. No args.
-- needs: keys, rebuild
-- Layout 1 had the part of a record after the id, `ep:<id>:turns`, so that an id with a colon could name another's record.
local LAYOUT = 2
local mark = call('GET', key('layout'))
local found = tonumber(mark) or (not mark and call('EXISTS', key('episodes')) == 1 and 1 or LAYOUT)
if found > LAYOUT then return refuse('StoreTooNew', found, LAYOUT) end

local renamed = 0
local function rename(kind, id, part)
  local before = id .. ':' .. part
  if kind == 'ep' and call('ZSCORE', key('episodes'), before) then return end  -- another episode's header
  if call('EXISTS', key(kind .. ':' .. before)) == 0 then return end
  call('RENAME', key(kind .. ':' .. before), key(kind .. '.' .. part .. ':' .. id))
  renamed = renamed + 1
end

if found == 1 then
  call('HDEL', key('totals'), 'reserved')  -- episodes take places at their next call or reward
  for _, id in ipairs(call('ZRANGE', key('episodes'), 0, -1)) do
    for _, part in ipairs({'turns', 'turn_ids', 'rewards', 'reward_log', 'reward_keys', 'replies',
                           'reply_keys', 'withdrawn', 'advantages'}) do
      rename('ep', id, part)
    end
    local group = call('HGET', episode_key(id), 'group')
    if group and group ~= '' then rename('grp', group, 'members') end
  end
end
if call('EXISTS', key('forgotten')) == 0 then write_forgotten((counted())) end
call('SET', key('layout'), LAYOUT)
keep_copy('layout')
return renamed
