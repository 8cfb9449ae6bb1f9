-- Makes the next sweep happen at this time at the latest.
local function arm(at)
  local alarm = call('GET', key('alarm'))
  if not tonumber(alarm) or tonumber(alarm) > at then
    call('SET', key('alarm'), at)
    call('PUBLISH', key('signal'), 'deadline')
  end
end
