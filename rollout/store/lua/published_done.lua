-- published_done: remove policies that the ledger recorded from the outbox. args: versions.
-- needs: keys
for _, version in ipairs(args) do call('HDEL', key('published'), version) end
return 1
