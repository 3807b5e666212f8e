# docs/recipes.md as a reader follows it: every command in its order, every program with the library.
. "$MICA_SOURCE/tests/support/pages.sh"

# What the recipes call theirs: a checkpoint, a table, a log of clicks, a book.
mica train convnet --data photos/ --epochs 1 --batch-size 16 --seed 9 -o old.safetensors >/dev/null 2>&1
awk 'BEGIN {
  srand(3); print "age,job,income" >"people.csv"; print "age,job" >"new.csv"
  print "site,device,click" >"log.csv"; print "site,device" >"newlog.csv"
  for (i = 0; i < 200; i++) {
    age = 20 + int(rand() * 50); job = rand() < 0.5 ? "smith" : "clerk"
    print age "," job "," (age > 45 ? "high" : "low") >"people.csv"
    site = "s" int(rand() * 5); device = rand() < 0.5 ? "phone" : "desk"
    print site "," device "," (site == "s1" || rand() < 0.2) >"log.csv"
  }
  print "33,smith" >"new.csv"; print "s1,phone" >"newlog.csv"
}'
for i in $(seq 40); do echo "It was the best of times, it was the worst of times, line $i of the book."; done >book.txt

words=(bright dim light)
for i in $(seq 20); do
  echo "photos/bolt/$i.jpg,a ${words[i % 3]} pole"
  echo "photos/nut/$i.jpg,a ${words[i % 3]} bar"
done >captions.csv
echo '{"bolt": ["a bright pole"], "nut": ["a bright bar"]}' >things.json

awk 'BEGIN {
  srand(5); n = split("tiger:stripes:claws saw:teeth:wood drum:loud:sticks river:water:fish", things, " ")
  m = split("old new huge famous", states, " ")
  print "question,text" >"questions.csv"
  for (i = 1; i <= n; i++) for (k = 1; k <= m; k++) print "This is the " states[k] " " substr(things[i], 1, index(things[i], ":") - 1) " of the museum." >"texts.txt"
  for (j = 0; j < 300; j++) {
    split(things[1 + int(rand() * n)], w, ":"); s = states[1 + int(rand() * m)]
    print (rand() < 0.5 ? w[2] " and " w[3] " of a " s " one" : s " with " w[3] " " w[2]) ",This is the " s " " w[1] " of the museum." >"questions.csv"
  }
}'

programs docs/recipes.md
follow docs/recipes.md
if [ $commands -ge 59 ]; then echo "ok the recipes have their commands"; else echo "not ok the recipes have their commands ($commands)"; fi
for left in winter.safetensors small.mica curve.svg parts.faiss new.index words.mica heat.png half.csv measured/report.html new.npy photos.index claim long.run; do
  if [ -e $left ]; then echo "ok $left is there"; else echo "not ok $left is there"; fi
done
mica predict parts.mica washers/4.jpg >out 2>&1
says "the class that was taught is known" '^washers/4.jpg,1,washer'
./alike >out 2>&1
says "features that are turned are alike" '^cka 1.000'
