#!/bin/bash
# Runs a program as a container would: read-only root, volumes, processes and network of its own.
#
#   unshare ... container.sh FOLDER ADDRESS GATEWAY PROGRAM ARGUMENT...
#
# FOLDER holds `hosts`, an empty `root`, and `volumes` with lines "PATH SOURCE ro|rw" or
# "PATH memory SIZE". Says "started", then waits for a line: the network device eth0 is there.
set -euo pipefail
folder=$1 address=$2 gateway=$3
shift 3
root=$folder/root
echo started
read -r _

ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
ip route add default via "$gateway"

mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$root"
for path in /*; do
  if [ -L "$path" ]; then
    cp -P "$path" "$root$path"
  elif [ -d "$path" ]; then
    mkdir "$root$path"
    case $path in
      /etc) cp -a /etc/. "$root/etc" ;;
      /proc) mount -t proc proc "$root/proc" ;;
      /dev) mount --rbind /dev "$root/dev" ;;
      /run | /tmp | /mnt | /media | /srv) ;;
      *)
        mount --rbind "$path" "$root$path"
        mount -o remount,bind,ro "$root$path"
        ;;
    esac
  fi
done
cp "$folder/hosts" "$root/etc/hosts"
: > "$root/etc/resolv.conf"
while read -r path source mode; do
  mkdir -p "$root$path"
  if [ "$source" = memory ]; then
    mount -t tmpfs -o "size=$mode" none "$root$path"
  else
    mount --bind "$source" "$root$path"
    mount -o "remount,bind,$mode" "$root$path"
  fi
done < "$folder/volumes"
mount -o remount,ro "$root"
exec chroot "$root" /usr/bin/env -C /tmp "$@" < /dev/null >&2
