-- set_shards: record over how many shards the project is spread. args: number.
-- needs: keys
call('SET', key('shards'), args[1])
return 1
