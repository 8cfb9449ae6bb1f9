-- admission: the places that are taken in this shard, those of a key, most of any key, and the limits of the whole project.
-- args: key
-- needs: keys
local whole, whole_per_key = unpack(call('HMGET', key('training'), 'whole_live_episodes', 'whole_live_episodes_per_key'))
local holders, most = call('HGETALL', key('holders')), 0
for index = 1, #holders, 2 do
  if holders[index] ~= 'trainer' then most = math.max(most, number(holders[index + 1])) end
end
return {number(call('HGET', key('totals'), 'reserved')), number(call('HGET', key('holders'), args[1])), most,
        number(whole), number(whole_per_key)}
