-- weigh_rewards: replace the weights of reward names. args: name, weight, name, weight, ...
-- needs: keys
call('DEL', key('reward_weights'))
if #args > 0 then call('HSET', key('reward_weights'), unpack(args)) end
return 1
