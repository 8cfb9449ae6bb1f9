-- take_over: from now on this trainer alone may claim; what others held is queued again. args: owner, max deliveries.
-- needs: keys, open_episodes, alarm, places, episode, group
local owner, max_deliveries = args[1], tonumber(args[2])
call('HSET', key('training'), 'trainer', owner)
keep_copy('training')
local left = {}
for _, group in ipairs(call('ZRANGE', key('claimed'), 0, -1)) do
  if not holds(owner, group) then left[#left + 1] = group end
end
give_back(left, max_deliveries)
return #left
