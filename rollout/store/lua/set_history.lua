-- set_history: set the history policy of episodes that name none. args: policy.
-- needs: keys
return call('SET', key('history'), args[1])
