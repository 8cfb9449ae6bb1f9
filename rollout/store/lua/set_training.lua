-- set_training: merge into the training state. args: field, value, field, value, ...
-- needs: keys
if #args > 0 then
  call('HSET', key('training'), unpack(args))
  keep_copy('training')
end
return 1
