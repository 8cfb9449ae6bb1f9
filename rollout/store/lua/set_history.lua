-- set_history: set the history policy of episodes that name none. args: policy.
-- needs: keys
call('SET', key('history'), args[1])
keep_copy('history')
return 1
