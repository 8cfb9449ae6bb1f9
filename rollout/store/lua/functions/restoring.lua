-- Queues groups again that were trained.
local function queue_again(groups)
  for _, group in ipairs(groups) do
    local ids = members(group, 'trained')
    for _, id in ipairs(ids) do
      untrain(id)
      place(id)
    end
    call('ZREM', key('trained'), group)
    call('HSET', group_key(group), 'deliveries', 0)
    requeue(group, 'trained')
    for _, id in ipairs(ids) do queue_for_ledger(id) end
  end
  return groups
end
