# The pages as a reader follows them: the commands in their order, the programs with the library. Lines that
# need a network (`sh no-run`, mica model get) are tried by tests/test_download.sh.
. "$MICA_SOURCE/tests/support/pages.sh"

sed -n '/^```c$/,/^```$/p' "$MICA_SOURCE/docs/tutorial.md" | sed '/^```/d' >tell.c
follow docs/tutorial.md
says "the tutorial's program knows the bolt" '^new.jpg: bolt'
says "and the class that it was taught" '^washers/4.jpg: washer'

cp parts.mica checkpoint.pth # told by its contents, not its name
printf 'size,kind\n1,bolt\n2,nut\n3,bolt\n' >table.csv
follow docs/formats.md

mkdir -p models && cp parts.mica models/resnet18.mica # stands in for the published one
cp -r photos more-photos
for i in 1 2 3 4 5; do picture washer$i.jpg washer "$i"; to_binary washer$i.jpg; done
for i in $(seq 20); do echo "photos/bolt/$i.jpg,a standing bolt"; echo "photos/nut/$i.jpg,a lying nut"; done >captions.csv
cp "$MICA_SOURCE"/examples/teach/teach.c . && cp tell.c program.c
follow README.md
if [ $commands -ge 26 ]; then echo "ok the pages have their commands"; else echo "not ok the pages have their commands ($commands)"; fi
