#!/bin/sh
# A school of three classes with a teacher and thirty pupils each, a limit for each class, and an image for the first.
# school.sh [SCHOOL [IMAGE [PASSWORDS]]]: the path of the school, an image that is there, and the file for the passwords.
# Signed in as an administrator (educloud login). The same again changes nothing.
set -eu
school=${1:-edu.school}
image=${2:-tiny}
passwords=${3:-passwords.csv}
table=$(mktemp)
trap 'rm -f "$table"' EXIT

echo "username,group,role" > "$table"
for class in class1 class2 class3; do
  echo "teacher-$class,$school.$class,powerAdm" >> "$table"
  pupil=1
  while [ $pupil -le 30 ]; do
    printf '%s-%02d,%s.%s,user\n' "$class" "$pupil" "$school" "$class" >> "$table"
    pupil=$((pupil + 1))
  done
done
educloud user import "$table" --preview > /dev/null
educloud user import "$table" --passwords "$passwords" > /dev/null

for class in class1 class2 class3; do
  educloud quota set instances 40 --group "$school.$class"
  educloud quota set memory_mib 40960 --group "$school.$class"
done

educloud permission share image "$image" --group "$school.class1"
educloud permission why execute image "$image" --user class1-01
educloud group list --below "$school"
educloud audit verify
