-- settle_done: remove entries that the ledger recorded from the outbox. args: episode, sequence, episode, sequence, ...
-- needs: keys
for index = 1, #args, 2 do
  if call('ZSCORE', key('settled'), args[index]) == args[index + 1] then
    call('ZREM', key('settled'), args[index])
  end
end
return 1
