-- The think times of `outlive rehearse`: 0 to 20 ms, evenly spread.
function delay()
   return math.random(0, 20)
end
