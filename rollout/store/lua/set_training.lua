-- set_training: merge into the training state. args: field, value, field, value, ...
-- needs: keys
if #args > 0 then call('HSET', key('training'), unpack(args)) end
return 1
