-- weigh_rewards: replace the weights of reward names. args: name, weight, name, weight, ...
-- needs: keys
call('DEL', key('reward_weights'), key('copy.reward_weights'))
if #args > 0 then call('HSET', key('reward_weights'), unpack(args)) end
keep_copy('reward_weights')
return 1
