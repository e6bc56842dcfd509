-- wrk: one request after the other over the tokens of LOAD_TOKENS, one a line.
local requests, count, turn = {}, 0, 0

function init(_)
  for token in io.lines(os.getenv("LOAD_TOKENS")) do
    count = count + 1
    requests[count] = wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. token, ["Host"] = "localhost" })
  end
end

function request()
  turn = turn % count + 1
  return requests[turn]
end
