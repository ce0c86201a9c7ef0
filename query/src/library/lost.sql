select node, stage, verdict, unit, reason, sum(count) as lost, min(time) as first_lost, max(end_time) as last_lost
from loss
where time > now() - interval '1 day'
group by all
order by lost desc
limit 100
