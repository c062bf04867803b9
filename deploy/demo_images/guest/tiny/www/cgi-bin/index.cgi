#!/bin/sh
read -r id < /run/id
read -r ip < /run/ip
read -r up _ < /proc/uptime
printf 'Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n\r\n%s\nip %s\nup_s %s\n' "$id" "$ip" "$up"
