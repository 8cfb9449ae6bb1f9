-- lift: give out later sequences than another shard. An id that comes back in this shard would otherwise settle with a sequence that
-- the ledger takes for older. args: sequence.
-- needs: keys
if tonumber(args[1]) > number(call('HGET', key('totals'), 'settlements')) then
  call('HSET', key('totals'), 'settlements', args[1])
end
return 1
